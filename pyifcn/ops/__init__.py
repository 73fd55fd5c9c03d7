"""The operators, one module each; `pyifcn` itself offers them all."""
