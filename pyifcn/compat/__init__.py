"""Other libraries' signatures, to be put in their place."""
