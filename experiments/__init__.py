"""What is too long for a notebook: the contest of all families (``make showdown``), its results, and the blind test.

``entrants`` says how each network is trained and sampled, ``sampling`` samples pixel by pixel without computing
anything twice, ``contest`` trains and measures them all, ``results`` keeps what was found, and ``blind`` lets the
reader judge.
"""
