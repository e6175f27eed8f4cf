"""The machine: files, processes and threads, devices, versions. It knows nothing of radio data."""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.system.cluster import LOCAL, Workers, run_tasks
    from faintsky.system.files import (
        cache_folder,
        check_space,
        check_writable,
        clear_leftovers,
        folder_lock,
        replacing,
        write_text,
    )
    from faintsky.system.machine import (
        BYTES_OF_TABLES,
        Needs,
        __version__,
        choose_device,
        free_memory,
        versions,
    )
    from faintsky.system.processes import (
        LONGEST,
        cpu_count,
        limited_threads,
        may_start_workers,
        one_thread,
        prepare_memory,
        prepare_threads,
        run_program,
        start_watching,
        worker_count,
    )
    from faintsky.system.settings import Settings

lazy(__name__)
