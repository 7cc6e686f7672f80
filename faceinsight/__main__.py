"""`python -m faceinsight` is the command line."""

from faceinsight.cli import main

main()
