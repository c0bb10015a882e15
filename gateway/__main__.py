"""`python -m gateway` is the command line."""

if __name__ == "__main__":
    from gateway.cli import main  # here, so that a worker process (gateway.operations.workers) does not load it all

    main()
