"""A checkpoint as a page for a browser: one HTML file, without network or server.

Pure functions turn frozen values into the data of a section; `document` puts the data,
the styles and the scripts of `assets/` into one file.
"""
