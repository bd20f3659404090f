"""Where a run lies: a folder that every worker sees, or an object store with a copy on each machine; its lock."""
