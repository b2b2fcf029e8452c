# On Windows: set up on the first call, then start Partwise. run.bat calls this, with the same options.
$ErrorActionPreference = "Stop"
Set-Location $PSScriptRoot
$python = Join-Path $PSScriptRoot ".venv\Scripts\python.exe"

function Stop-WithReason([string]$reason) {
    [Console]::Error.WriteLine("Partwise: $reason")
    exit 1
}

# A Python that suits, as the words of a command; nothing where there is none.
function Find-Python {
    $candidates = "py -3.12", "py -3.13", "py -3.11", "py -3.10", "py -3.14", "python"
    if ($env:PARTWISE_PYTHON) { $candidates = , "`"$env:PARTWISE_PYTHON`"" }
    foreach ($candidate in $candidates) {
        cmd /c "$candidate scripts\python_range.py >nul 2>nul"
        if ($LASTEXITCODE -eq 0) { return $candidate }
    }
}

if (-not (Test-Path $python)) {
    Write-Host "Partwise: making the environment in .venv ..."
    $base = Find-Python
    if ($base) {
        cmd /c "$base -m venv .venv"
    } elseif (Get-Command uv -ErrorAction SilentlyContinue) {
        uv venv --quiet --python 3.12 .venv # brings one
    } else {
        $range = (Select-String -Path pyproject.toml -Pattern '^requires-python = "(.*)"').Matches[0].Groups[1].Value
        Stop-WithReason "needs Python $range. Install one from python.org, or uv, which brings one; PARTWISE_PYTHON names one that is not found."
    }
    if ($LASTEXITCODE -ne 0) { Stop-WithReason "the environment could not be made; the lines above say why." }
}
& $python -m scripts.install requirements.txt
if ($LASTEXITCODE -ne 0) { exit 1 }
& $python app.py @args
exit $LASTEXITCODE
