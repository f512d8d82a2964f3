//! The program `anteroom-authorizer`, an AWS Lambda function; its code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    anteroom::authorizer::main()
}
