"""A plugin that does not load: it needs a package that is not there."""

import no_such_package

METHOD = no_such_package.METHOD
