"""What a run will take, before it is paid for: rates of what was measured, rows of what is there, a clock."""
