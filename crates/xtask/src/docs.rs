//! Runs the commands in README.md and docs/, except those with a reason to skip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::metadata::Metadata;

/// The time limit of one block in seconds.
const LIMIT: &str = "600";

/// The mark after the fence's `sh`.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// `sh ci`: run from the workspace's root with `bash -euo pipefail`.
    Run,
    /// `sh cloud`, `sh folder`: run the same way, beside a cloud with an empty data folder, or with
    /// the folder of a cloud that has ended. Products that are named behind it exist.
    Beside(Cloud, Vec<String>),
    /// `sh skip: why`: skipped, with its reason printed.
    Skip(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cloud {
    Runs,
    Ended,
}

/// Prepares a block for which a cloud is needed: the cloud of the pages, with other addresses and
/// another folder, files that the commands name, and an agent for a device that a block adds to
/// TESTPROD02.
const CLOUD: &str = r#"
cargo build --quiet --release --bin ota
rm -rf target/pages && mkdir -p target/pages && cd target/pages
export PATH=$PWD/../release:$PATH CLOUD= AGENT=
trap 'kill $CLOUD $AGENT 2> /dev/null || true' EXIT
ota cloud serve --data data --mqtt 127.0.0.1:31113 --http 127.0.0.1:0 --api 127.0.0.1:28111 > cloud.log 2>&1 &
CLOUD=$!
export OTA_CLOUD_URL=http://127.0.0.1:28111 OTA_CLOUD_KEY_FILE=data/first-start
until ota cloud product list > /dev/null 2>&1; do kill -0 $CLOUD; sleep 0.1; done
for product in $PRODUCTS; do ota cloud product add $product; done
cp data/first-start key
head -c 200000 /dev/urandom > image.bin
head -c 200000 /dev/urandom > image-2.bin
printf 'product,name,secret,tags
TESTPROD01,dev001,,line=7;place=hall
' > devices.csv
echo 1.0.0 > version
cat > agent.toml <<'END'
product_id = "TESTPROD02"
device_name = "dev001"
device_secret_file = "dev001.secret"
broker = "mqtt://127.0.0.1:31113"
allow_http = true
data_dir = "device"
version_file = "version"
END
(until [ -s dev001.secret ]; do sleep 0.1; done; exec ota agent --config agent.toml) > agent.log 2>&1 &
AGENT=$!
"#;

/// Ends the cloud before the block.
const ENDED: &str = "kill $CLOUD $AGENT; wait $CLOUD || true\n";

#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The line of the fence, from 1.
    line: usize,
    mark: Mark,
    text: String,
}

/// Checks marks and links of every page, then runs the blocks, unless only the list is requested.
pub(crate) fn run(list_only: bool) -> Result<(), String> {
    let root = Metadata::load_members()?.workspace_root;
    let (mut blocks, mut faults) = (Vec::new(), Vec::new());
    let mut code = String::new();
    sources(&root.join("crates"), &mut code)?;
    for page in pages(&root)? {
        let name = page.strip_prefix(&root).unwrap_or(&page).display().to_string();
        let text = fs::read_to_string(&page).map_err(|error| format!("{name}: {error}"))?;
        faults.extend(broken_links(&page, &text).iter().map(|link| format!("{name}: {link}")));
        faults.extend(
            taken_ports(&text).map(|port| format!("{name}: port {port} may be taken: below 32768")),
        );
        let missing = named_tests(&text).filter(|test| !code.contains(&format!("fn {test}(")));
        faults.extend(missing.map(|test| format!("{name}: there is no test `{test}`")));
        match extract(&text) {
            Ok(found) => blocks.extend(found.into_iter().map(|block| (name.clone(), block))),
            Err(fault) => faults.push(format!("{name}:{fault}")),
        }
    }
    crate::faults("documentation", &faults)?;
    for (name, block) in blocks {
        let place = format!("{name}:{}", block.line);
        match block.mark {
            Mark::Skip(reason) => println!("{place}: not run: {reason}"),
            mark => {
                println!("{place}:\n{}", block.text.trim_end());
                if !list_only {
                    let text = script(&mark, &block.text);
                    execute(&root, &text).map_err(|fault| format!("{place}: {fault}"))?;
                }
            }
        }
    }
    Ok(())
}

/// The commands of a block with what they need.
fn script(mark: &Mark, text: &str) -> String {
    let Mark::Beside(cloud, products) = mark else { return text.to_owned() };
    let text = text.replace("127.0.0.1:8081", "127.0.0.1:28111");
    let text = text.replace("/var/lib/ota-cloud", "data").replace("/backup/", "");
    let ended = if *cloud == Cloud::Ended { ENDED } else { "" };
    format!("PRODUCTS='{}'{CLOUD}{ended}{text}", products.join(" "))
}

fn pages(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs", "docs/cloud"] {
        let fail = |error| format!("{folder}: {error}");
        for entry in fs::read_dir(root.join(folder)).map_err(fail)? {
            pages.push(entry.map_err(fail)?.path());
        }
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    Ok(pages)
}

/// Reads all Rust files of a folder.
fn sources(dir: &Path, code: &mut String) -> Result<(), String> {
    let fail = |error| format!("{}: {error}", dir.display());
    for entry in fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            sources(&path, code)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).map_err(fail)?);
        }
    }
    Ok(())
}

/// Ports of blocks that run, which the system may give to any other program.
fn taken_ports(text: &str) -> impl Iterator<Item = u32> {
    let blocks = extract(text).unwrap_or_default().into_iter();
    let run = blocks.filter(|block| !matches!(block.mark, Mark::Skip(_)));
    let texts: Vec<String> = run.map(|block| block.text).collect();
    let ports = texts.into_iter().flat_map(|text| {
        let ends = text.split("127.0.0.1:").skip(1).map(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or(0)
        });
        ends.collect::<Vec<u32>>()
    });
    ports.filter(|port| *port >= 32_768)
}

/// Names of tests in a page: code of four words or more, joined by underscores. Those of metrics
/// begin with `ota_`.
fn named_tests(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|name| {
        name.matches('_').count() >= 3
            && !name.starts_with("ota_")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

fn extract(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let mark = mark(info.trim()).map_err(|fault| format!("{}: {fault}", at + 1))?;
        let mut body = String::new();
        loop {
            match lines.next() {
                None => return Err(format!("{}: the fence is never closed", at + 1)),
                Some((_, line)) if line.trim() == "```" => break,
                Some((_, line)) => body.extend([line, "\n"]),
            }
        }
        if let Some(mark) = mark {
            blocks.push(Block { line: at + 1, mark, text: body });
        }
    }
    Ok(blocks)
}

/// `None` for a fence without commands.
fn mark(info: &str) -> Result<Option<Mark>, String> {
    let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
    if info.contains('`') {
        return Err("a backtick after the fence: Markdown does not read this as a fence".into());
    }
    match (language, rest.trim()) {
        ("bash" | "shell" | "console", _) => Err("commands are `sh ci` or `sh skip: why`".into()),
        ("sh", "ci") => Ok(Some(Mark::Run)),
        ("sh", rest) if matches!(rest.split(' ').next(), Some("cloud" | "folder")) => {
            let cloud = if rest.starts_with("cloud") { Cloud::Runs } else { Cloud::Ended };
            let products: Vec<String> = rest.split(' ').skip(1).map(str::to_owned).collect();
            let name = |product: &String| product.bytes().all(|b| b.is_ascii_alphanumeric());
            if products.iter().all(name) {
                Ok(Some(Mark::Beside(cloud, products)))
            } else {
                Err("behind `cloud` and `folder` come names of products".into())
            }
        }
        ("sh", rest) => match rest.strip_prefix("skip:").map(str::trim) {
            Some(reason) if !reason.is_empty() => Ok(Some(Mark::Skip(reason.to_owned()))),
            _ => Err("mark the commands `sh ci`, `sh cloud` or `sh folder`, or say `sh skip: why`"
                .into()),
        },
        _ => Ok(None),
    }
}

/// Finds relative links to missing files.
fn broken_links(page: &Path, text: &str) -> Vec<String> {
    let dir = page.parent().unwrap_or(Path::new("."));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let files = targets.filter_map(|(target, _)| target.split('#').next());
    let files = files.filter(|file| !file.is_empty() && !file.contains("://"));
    files
        .filter(|file| !file.contains(char::is_whitespace) && !dir.join(file).exists())
        .map(|file| format!("a link to {file}, which is not there"))
        .collect()
}

fn execute(root: &Path, text: &str) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.args([LIMIT, "bash", "-euo", "pipefail", "-c", text]).current_dir(root);
    let status = command.status().map_err(|error| format!("did not start: {error}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(124) => Err(format!("took more than {LIMIT} s")),
        _ => Err(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{
        Block, Cloud, Mark, broken_links, execute, extract, mark, named_tests, script, taken_ports,
    };

    #[test]
    fn tests_are_known_by_their_names() {
        let text =
            "| 1 | `rule_1_a_b`, `cargo xtask docs` |\n`a_b_c` `crates/a_b_c_d.rs` `x_y_z_1`";
        assert_eq!(named_tests(text).collect::<Vec<_>>(), ["rule_1_a_b", "x_y_z_1"]);
    }

    #[test]
    fn blocks_are_found_with_their_marks() {
        let text =
            "# T\n```sh ci\ntrue\n```\n```text\nrm\n```\n```sh skip: two terminals\nx\n```\n";
        assert_eq!(
            extract(text).unwrap(),
            [
                Block { line: 2, mark: Mark::Run, text: "true\n".to_owned() },
                Block { line: 8, mark: Mark::Skip("two terminals".to_owned()), text: "x\n".into() },
            ]
        );
    }

    #[test]
    fn blocks_beside_a_cloud_have_its_address_and_its_folder() {
        let beside = mark("sh folder TESTPROD01").unwrap().unwrap();
        assert_eq!(beside, Mark::Beside(Cloud::Ended, vec!["TESTPROD01".to_owned()]));
        let text = script(&beside, "ota cloud audit verify /var/lib/ota-cloud\n");
        assert!(text.starts_with("PRODUCTS='TESTPROD01'\n"));
        assert!(text.contains("wait $CLOUD") && text.ends_with("audit verify data\n"));
        assert!(mark("sh cloud a;b").is_err());
    }

    #[test]
    fn commands_without_a_mark_are_errors() {
        for info in ["sh", "sh skip:", "sh later", "sh skip: `x`", "bash", "console"] {
            let fault = extract(&format!("a\n```{info}\ntrue\n```\n")).unwrap_err();
            assert!(fault.starts_with("2: "), "{info}: {fault}");
        }
        assert_eq!(extract("```sh ci\ntrue\n").unwrap_err(), "1: the fence is never closed");
    }

    #[test]
    fn ports_that_the_system_gives_away_are_found() {
        let text = "```sh ci\na 127.0.0.1:38090 127.0.0.1:0 127.0.0.1:1883\n```\n```sh skip: x\n127.0.0.1:40000\n```\n";
        assert_eq!(taken_ports(text).collect::<Vec<_>>(), [38_090]);
    }

    #[test]
    fn links_to_missing_files_are_found() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = "[a](Cargo.toml) [b](src/main.rs#x) [c](#d) [e](https://h.invalid/x) [f](no.md)";
        assert_eq!(broken_links(&page, text), ["a link to no.md, which is not there"]);
    }

    #[test]
    fn a_failing_command_fails_its_block() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(execute(root, "test -f Cargo.toml"), Ok(()));
        assert!(execute(root, "false\ntrue").is_err());
        assert!(execute(root, "false | true").is_err());
    }
}
