"""`speechmill report`: a run to see and to hear, in one HTML file. docs/report.md tells what is in it and why."""
