"""What every floor stands on: errors, configuration files, file access, console output.

Knows nothing of models or shards.
"""
