"""Service: the HTTP server, its jobs and the processes that prove."""
