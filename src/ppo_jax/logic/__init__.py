"""Logic programs as arrays: text to knowledge base to padded integers, resolution steps, queries and data sets."""
