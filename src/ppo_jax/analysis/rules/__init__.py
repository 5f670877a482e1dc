"""The rules of diagnosis: each is a function of the evidence in one file by what it is about, and data beside it."""
