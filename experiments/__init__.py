"""What is too long for a notebook: the contest of all families, the blind test, and the marathon of finished models.

``entrants`` says how each network is trained and sampled, ``sampling`` samples pixel by pixel without computing
anything twice, ``contest`` trains and measures them all, ``results`` keeps what was found, and ``blind`` lets the
reader judge.

``models`` says how each finished model is trained, ``recipes`` compares such recipes at equal seconds, ``marathon``
trains them to the end, and ``classifier`` trains the classifier that measures them all.
"""
