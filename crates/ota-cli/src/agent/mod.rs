mod config;
mod install;
mod switch;
pub(crate) fn run(args: &crate::args::Agent) -> Result<(), crate::failure::Failure> {
    let c = config::Config::read(&args.config)?;
    println!("{c:?}");
    Ok(())
}
