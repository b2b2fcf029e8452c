"""The application: use cases and the faces (web, command line, HTTP) that call them."""
