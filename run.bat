@rem Set up on the first call, then start Partwise: run.bat [--port N] [--host ADDRESS] [--no-browser]
@powershell -NoProfile -ExecutionPolicy Bypass -File "%~dp0run.ps1" %*
