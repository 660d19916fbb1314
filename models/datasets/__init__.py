"""Read folders of photos, and the lists that say which person is on which photo.

`folders` decides which files are photos, `tables` reads CSV lists, `people` and `labelled` say
which person is on each photo and which pairs to compare. `crops` cuts out the faces of many files,
`features` turns them into features and vectors. `vectors` writes vectors into a folder.
"""
