"""Subcommands that need nothing but the verifier: a library function each, plus arguments, output and an exit code."""
