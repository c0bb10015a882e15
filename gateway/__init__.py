"""The bank: rules, store, operations, terminals, jobs and the command line. Start at docs/architecture.md."""
