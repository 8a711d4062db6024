# cmake -DFILE=x -P: takes the folders of the build's machine out of a program or library, as an installation would.
file(RPATH_REMOVE FILE "${FILE}")
