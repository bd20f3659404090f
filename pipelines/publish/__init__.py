"""`speechmill publish`: a finished dataset to the Hub, recipes from there. docs/publish.md tells what is checked."""
