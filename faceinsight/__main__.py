"""`python -m faceinsight` is the command line."""

import sys

from faceinsight.commands.app import main

sys.exit(main())
