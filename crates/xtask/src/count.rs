//! Counts one Rust file: lines of code and of tests, functions, attributes of the root.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Spacing, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A line of code has at least one token other than documentation.
#[derive(Debug, Default)]
pub(crate) struct FileCount {
    /// All lines, as an editor counts them.
    pub(crate) lines: usize,
    pub(crate) code: usize,
    /// Lines of code under `#[cfg(test)]` or `#[test]`; not in `code`.
    pub(crate) test: usize,
    pub(crate) functions: Vec<Function>,
    /// Names of `#[cfg(test)] mod name;`: their files are tests too.
    pub(crate) test_modules: Vec<String>,
    /// Inner attributes of the file, without white space: `no_std`, `forbid(unsafe_code)`.
    pub(crate) attributes: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// First line, from 1.
    pub(crate) line: usize,
    /// Lines from the signature to the closing brace.
    pub(crate) lines: usize,
}

/// Counts one file's text.
pub(crate) fn count(text: &str) -> Result<FileCount, String> {
    let file = syn::parse_file(text).map_err(|error| {
        let at = error.span().start();
        format!("line {}: {error}", at.line)
    })?;
    let tokens: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
    let mut marks = Marks::default();
    marks.walk(tokens, false);
    let mut functions = Functions::default();
    functions.visit_file(&file);
    Ok(FileCount {
        lines: text.lines().count(),
        code: marks.code.difference(&marks.test).count(),
        test: marks.test.len(),
        functions: functions.0,
        test_modules: marks.test_modules,
        attributes: file.attrs.iter().map(|attribute| plain(&attribute.meta)).collect(),
    })
}

fn plain(meta: &syn::Meta) -> String {
    match meta {
        syn::Meta::Path(path) => path.get_ident().map(ToString::to_string).unwrap_or_default(),
        syn::Meta::List(list) => {
            let name = list.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let inside: String = list.tokens.to_string().split_whitespace().collect();
            format!("{name}({inside})")
        }
        _ => String::new(),
    }
}

#[derive(Default)]
struct Marks {
    code: BTreeSet<usize>,
    test: BTreeSet<usize>,
    test_modules: Vec<String>,
}

impl Marks {
    fn walk(&mut self, tokens: TokenStream, in_test: bool) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = trees.as_slice();
        let mut marked = in_test;
        while let Some((first, after)) = rest.split_first() {
            if let Some((attribute, after)) = attribute(rest) {
                if names(&attribute, "doc") {
                    rest = after;
                    continue;
                }
                if !marked && is_test(&attribute) {
                    marked = true;
                    self.test_modules.extend(declared_module(after));
                }
            }
            self.mark(first, marked);
            if !in_test && ends_item(first) {
                marked = false;
            }
            rest = after;
        }
    }

    fn mark(&mut self, tree: &TokenTree, test: bool) {
        match tree {
            TokenTree::Group(group) => {
                self.touch(lines(group.span_open()), test);
                self.walk(group.stream(), test);
                self.touch(lines(group.span_close()), test);
            }
            other => self.touch(lines(other.span()), test),
        }
    }

    fn touch(&mut self, lines: RangeInclusive<usize>, test: bool) {
        if test { self.test.extend(lines) } else { self.code.extend(lines) }
    }
}

fn lines(span: Span) -> RangeInclusive<usize> {
    span.start().line..=span.end().line
}

/// `#[…]` or `#![…]` at the front: what is inside, and what follows.
fn attribute(trees: &[TokenTree]) -> Option<(Vec<TokenTree>, &[TokenTree])> {
    let (first, mut rest) = trees.split_first()?;
    if !is_punct(first, '#') {
        return None;
    }
    if let Some((bang, after)) = rest.split_first() {
        if is_punct(bang, '!') {
            rest = after;
        }
    }
    match rest.split_first()? {
        (TokenTree::Group(group), after) if group.delimiter() == Delimiter::Bracket => {
            Some((group.stream().into_iter().collect(), after))
        }
        _ => None,
    }
}

fn is_punct(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn names(attribute: &[TokenTree], name: &str) -> bool {
    matches!(attribute.first(), Some(TokenTree::Ident(ident)) if ident == name)
}

/// `test`, `tokio::test`, `cfg(test)`, `cfg(all(test, …))`; not `cfg(not(test))`.
fn is_test(attribute: &[TokenTree]) -> bool {
    let has =
        |text: &str, word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
    match attribute {
        [TokenTree::Ident(name), TokenTree::Group(group)] if name == "cfg" => {
            let inside = group.stream().to_string();
            has(&inside, "test") && !has(&inside, "not") && !has(&inside, "any")
        }
        [.., TokenTree::Ident(last)] => last == "test",
        _ => false,
    }
}

/// An item ends with its braces or its semicolon.
fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';' && punct.spacing() == Spacing::Alone,
        _ => false,
    }
}

/// The name in `mod name;` if that follows (after further attributes).
fn declared_module(mut rest: &[TokenTree]) -> Option<String> {
    while let Some((_, after)) = attribute(rest) {
        rest = after;
    }
    let at = rest.iter().position(|tree| matches!(tree, TokenTree::Ident(i) if i == "mod"))?;
    match (rest.get(at + 1)?, rest.get(at + 2)?) {
        (TokenTree::Ident(name), end) if at <= 2 && is_punct(end, ';') => Some(name.to_string()),
        _ => None,
    }
}

#[derive(Default)]
struct Functions(Vec<Function>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (line, end) = (signature.span().start().line, block.span().end().line);
        let lines = end.saturating_sub(line) + 1;
        self.0.push(Function { name: signature.ident.to_string(), line, lines });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    const SAMPLE: &str = r##"//! Head.
#![no_std]
#![forbid( unsafe_code )]

/// Doc.
// comment
fn first(
    x: u32, // tail
) -> u32 {

    let text = "two
lines";
    x
}

#[cfg(not(test))]
const A: u32 = 1;

#[cfg(test)]
mod outside;

#[cfg(test)]
mod inside {
    #[test]
    fn t() {}
}

trait T { fn d(&self) { } fn none(&self); }
"##;

    #[test]
    fn counts_code_and_tests_apart() {
        let found = count(SAMPLE).unwrap();
        assert_eq!(found.lines, 28);
        // 2 attributes, 7 of `first`, 2 of `A`, 1 trait.
        assert_eq!(found.code, 12);
        assert_eq!(found.test, 7);
        assert_eq!(found.test_modules, ["outside"]);
        assert_eq!(found.attributes[1..], ["no_std", "forbid(unsafe_code)"]);
    }

    #[test]
    fn measures_functions_from_signature_to_brace() {
        let found = count(SAMPLE).unwrap();
        let seen: Vec<_> =
            found.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(seen, [("first", 7, 8), ("t", 25, 1), ("d", 28, 1)]);
    }

    #[test]
    fn a_file_that_is_not_rust_is_an_error_with_its_line() {
        assert!(count("fn a() {}\nfn {").unwrap_err().starts_with("line "));
    }

    #[test]
    fn conditional_no_std_is_not_unconditional() {
        let found = count("#![cfg_attr(not(feature = \"std\"), no_std)]").unwrap();
        assert!(!found.attributes.iter().any(|a| a == "no_std"));
    }
}
