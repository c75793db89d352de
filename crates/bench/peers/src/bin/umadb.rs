//! The server of UmaDB: what the published program `umadb` does, built with the versions of Cargo.lock.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    umadb::start_server_with_cli_options(umadb::parse_cli_options(std::env::args())?)
}
