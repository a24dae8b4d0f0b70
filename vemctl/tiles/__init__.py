"""Where tiles and blocks lie and how they are joined: pure numpy, no files, no torch."""
