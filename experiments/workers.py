"""What processes of their own share, in the contest and in the marathon."""

import multiprocessing
import os
import threading


def end_with_parent():
    """End this process as soon as the one that started it is gone, however that ended."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
