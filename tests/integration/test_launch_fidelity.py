"""A recorded program does what it does under plain Python: the same scripts run both ways."""

from __future__ import annotations

import re
import sys
import textwrap
import zipfile

import pytest
from running import ROOT

# What differs between any two runs of anything.
_ADDRESS = re.compile(r"0x[0-9a-f]+|started [0-9]+")


def both(run_python, run_timeline, *words, flags=(), options=("--no-charts",), **more):
    plain = run_python(*flags, *words, **more)
    if flags:
        recorded = run_python(
            *flags, "-m", "timeline", *options, "-o", "run.timeline", *words, **more
        )
    else:
        recorded = run_timeline(*words, options=options, **more)
    same(plain, recorded)
    return plain, recorded


def same(plain, recorded):
    assert _ADDRESS.sub("…", recorded.stdout) == _ADDRESS.sub("…", plain.stdout)
    assert recorded.code == plain.code
    head = recorded.stderr[: len(plain.stderr)]
    assert _ADDRESS.sub("…", head) == _ADDRESS.sub("…", plain.stderr)
    rest = recorded.stderr[len(plain.stderr) :]
    assert "Traceback" not in rest
    assert "recorded in" in rest


ABOUT_ITSELF = """
    import os, sys
    print(__name__, __file__, __spec__, __package__, __loader__.__class__, __builtins__)
    print(sys.argv, sys.path[0], sys.path, sys.flags, sys.warnoptions, sys._xoptions)
    print(sys.orig_argv, sys.executable, sys.prefix)
    print(os.environ.get("PYTHONPATH"), list(os.environ))
    print("sitecustomize" in sys.modules, sys.meta_path[-4:], sys.path_hooks)
    print(sorted(map(str, vars())))
    print([k for k in sys.path_importer_cache if "inject" in k])
    print(os.getcwd())
    print(sorted(os.listdir("/proc/self/fd"), key=int)[:3], sys.stdin, sys.stdout, sys.stderr)
    print(os.umask(0o22), sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace())
    print(sys.excepthook is sys.__excepthook__, sys.stdout.isatty(), sys.stdout.line_buffering)
    import signal
    print([(int(s), str(signal.getsignal(s))) for s in signal.valid_signals()])
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    import gc, threading
    print(gc.get_threshold(), gc.isenabled(), threading.enumerate(), threading.main_thread())
"""

SCRIPTS = {
    "what it knows of itself": ABOUT_ITSELF,
    "classes of main are pickled": """
        import pickle
        class A:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x
        def f(x): return x + 1
        if __name__ == "__main__":
            print(pickle.dumps(A(3)), pickle.loads(pickle.dumps(A(3))) == A(3))
            print(pickle.loads(pickle.dumps(f))(1), f.__module__, A.__module__)
    """,
    "processes are forked, spawned and served": """
        import multiprocessing as mp, os, sys
        class Point:
            def __init__(self, x): self.x = x
        def work(point):
            return point.x * 2, list(os.environ), "timeline" in sys.modules
        if __name__ == "__main__":
            for method in ("spawn", "forkserver"):
                with mp.get_context(method).Pool(2) as pool:
                    print(method, pool.map(work, [Point(1), Point(2)]))
            with mp.get_context("fork").Pool(2) as pool:
                print("fork", [each[:2] for each in pool.map(work, [Point(1), Point(2)])])
            from concurrent.futures import ProcessPoolExecutor
            with ProcessPoolExecutor(1, mp_context=mp.get_context("spawn")) as pool:
                print(pool.submit(pow, 2, 5).result())
    """,
    "a forked child exits on its own": """
        import os, sys, atexit
        atexit.register(print, "bye", flush=True)
        pid = os.fork()
        if pid == 0:
            print("child", flush=True)
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        try:
            os.wait()
        except ChildProcessError as error:
            print(error)
    """,
    "a child process is plain": """
        import subprocess, sys, os
        code = "import sys, os; print('timeline' in sys.modules, os.environ.get('PYTHONPATH'))"
        subprocess.run([sys.executable, "-c", code], check=True)
        subprocess.run([sys.executable, sys.argv[0], "again"]) if sys.argv[-1] != "again" else None
        print(sys.argv[1:])
    """,
    "output without a newline, and in order": """
        import sys, os
        sys.stdout.write("no newline")
        sys.stderr.write("err")
        os.write(1, b"raw")
        sys.stdout.buffer.write(b"\\xff\\x00")
        print(sys.stdout.buffer, sys.stdout.write_through)
    """,
    "text as exit": "import sys; sys.exit('a text')",
    "None as exit": "import sys; sys.exit(None)",
    "large exit": "import sys; sys.exit(259)",
    "negative exit": "import sys; sys.exit(-1)",
    "an object as exit": "import sys; sys.exit([1, 2])",
    "a raised SystemExit": "raise SystemExit(7)",
    "a bare exit": "exit(3)",
    "an exception": """
        def f(x): return 1 / x
        def g(): f(0)
        try:
            g()
        except ZeroDivisionError as error:
            raise ValueError("two") from error
    """,
    "an exception group": "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
    "an exception in an own hook": """
        import sys
        sys.excepthook = lambda *a: print("hook", a[1], file=sys.stderr)
        raise ValueError(3)
    """,
    "a deep recursion": """
        import sys
        def f(n): return f(n + 1)
        try:
            f(0)
        except RecursionError as error:
            print(error)
        depth = 0
        def g():
            global depth
            depth += 1
            g()
        try:
            g()
        except RecursionError:
            print(depth)
    """,
    "a syntax error": "print('never')\nif True print(1)\n",
    "a null byte": "x = 1\n\0\n",
    "an unknown encoding": "# coding: nonsense\nprint(1)\n",
    "a warning": """
        import warnings
        warnings.warn("look")
        def f(): warnings.warn("there", DeprecationWarning, stacklevel=2)
        f()
    """,
    "the order at exit": """
        import atexit, threading, time, weakref
        class D:
            def __del__(self): print("del", flush=True)
        d = D()
        atexit.register(print, "first in, last out")
        def late():
            time.sleep(0.05)
            print("thread", flush=True)
        threading.Thread(target=late).start()
        atexit.register(print, "last in, first out")
        weakref.finalize(d, print, "finalized")
        print("main is done")
    """,
    "an exception at exit": """
        import atexit
        atexit.register(lambda: 1 / 0)
        atexit.register(print, "before")
    """,
    "a daemon thread at exit": """
        import threading, time
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        print("done")
    """,
    "an exception in a thread": """
        import threading
        t = threading.Thread(target=lambda: 1 / 0, name="t")
        t.start(); t.join()
        print("still here")
    """,
    "os._exit": "import os; print('lost'); os.write(1, b'kept'); os._exit(9)",
    "an exit in a thread": """
        import threading, sys, os, time
        threading.Thread(target=lambda: os._exit(4)).start()
        time.sleep(60)
    """,
    "replaced by itself": """
        import os, sys
        if sys.argv[1] != 'again':
            os.execv(sys.executable, [sys.executable, sys.argv[0], "again", str(os.getpid())])
        print(sys.argv[1], sys.argv[2] == str(os.getpid()), os.environ.get("PYTHONPATH"))
    """,
    "interrupted by itself": """
        import signal, os, time
        try:
            os.kill(os.getpid(), signal.SIGINT); time.sleep(5)
        except KeyboardInterrupt:
            print("caught")
        raise KeyboardInterrupt
    """,
    "terminated by itself": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "killed by itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "aborted": "import os; os.abort()",
    "a segmentation fault": "import ctypes; ctypes.string_at(0)",
    "a broken pipe's signal": """
        import os, signal
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        r, w = os.pipe(); os.close(r); os.write(w, b"x")
    """,
    "a closed standard error": """
        import os, sys
        sys.stdout.close()
        os.close(1)
    """,
    "all low descriptors closed, as a daemon does": """
        import os
        os.closerange(3, 256)
        fds = [os.open("/dev/null", os.O_RDWR) for _ in range(20)]
        print(fds[0] < 20)
        with open("own.txt", "w") as file:
            file.write("mine")
        print(open("own.txt").read())
        os.remove("own.txt")
    """,
    "all descriptors closed": """
        import os
        os.closerange(3, 4096)
        own = os.open("own.txt", os.O_CREAT | os.O_RDWR)
        print(own)
        os.write(own, b"mine")
        print(os.pread(own, 100, 0))
        os.remove("own.txt")
    """,
    "its own getrusage": """
        import resource
        from resource import getrusage, struct_rusage
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN, resource.RUSAGE_THREAD):
            usage = getrusage(who)
            print(type(usage), len(usage), usage.ru_maxrss > 5000, usage[2] == usage.ru_maxrss)
        for wrong in (99, "x", None, 1.5):
            try:
                getrusage(wrong)
            except Exception as error:
                print(type(error), error)
        print(getrusage.__name__, getrusage.__module__, getrusage.__doc__, getrusage.__qualname__)
    """,
    "a changed directory and environment": """
        import os
        os.chdir("/")
        os.environ.clear()
        os.setsid() if os.getsid(0) != os.getpid() else None
        print(os.getcwd(), os.environ)
    """,
    "asyncio": """
        import asyncio, signal
        async def main():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print, "usr1")
            signal.raise_signal(signal.SIGUSR1)
            process = await asyncio.create_subprocess_exec("true")
            print(await process.wait())
            await asyncio.sleep(0.01)
        asyncio.run(main())
    """,
    "a frozen trace and profile": """
        import sys, threading
        print(sys.getprofile(), sys.gettrace(), sys._getframe().f_back)
    """,
    "audit hooks and inspect see the script": """
        import inspect, linecache, traceback
        print(inspect.getsource(inspect.currentframe()), len(inspect.stack()))
        print("".join(traceback.format_stack()))
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_behaves_as_under_plain_python(name, write_script, run_python, run_timeline):
    script = write_script(textwrap.dedent(SCRIPTS[name]))
    both(run_python, run_timeline, script, "a b", "-o", "--x", errors="surrogateescape")


@pytest.mark.parametrize(
    "flags",
    [
        ("-u",),
        ("-O",),
        ("-OO", "-B"),
        ("-W", "error", "-X", "dev"),
        ("-Wignore", "-Xutf8=0"),
        ("-bb", "-q"),
        ("-s", "-P"),
        ("-I",),
        ("-E",),
        ("-S", "-s"),
        ("-X", "faulthandler", "--check-hash-based-pycs", "always"),
    ],
    ids=" ".join,
)
def test_options_of_python_are_passed_on(flags, write_script, run_python, run_timeline, tmp_path):
    script = write_script(textwrap.dedent(ABOUT_ITSELF))
    if {"-I", "-E", "-S", "-P"} & set(flags):
        # There PYTHONPATH does not count, or the place of the package is not on the path.
        root = next(p for p in sys.path if (p and (tmp_path / p / "timeline").is_dir()) or not p)
        starter = write_script(
            f"import sys; sys.path.append({root or '.'!r})\nsys.path.append({str(ROOT)!r})\n"
            "from timeline.cli.main import main\nsys.exit(main())\n",
            "starter.py",
        )
        plain = run_python(*flags, script, "a")
        recorded = run_python(
            *flags, starter, "--no-charts", "--backend", "linux", "-o", "r.timeline", script, "a"
        )
        assert _ADDRESS.sub("…", recorded.stdout) == _ADDRESS.sub("…", plain.stdout)
        assert recorded.code == plain.code
    else:
        both(run_python, run_timeline, script, "a", flags=flags)


def test_a_script_whose_name_looks_like_an_option_runs(run_python, run_timeline, tmp_path):
    (tmp_path / "-dash.py").write_text("import sys\nprint(sys.argv, sys.orig_argv[1:])\n")
    plain, _ = both(run_python, run_timeline, "--", "-dash.py", "-x")
    assert "['-dash.py', '-x']" in plain.stdout


def test_a_program_may_have_modules_with_the_names_of_pythons(
    write_script, run_python, run_timeline
):
    for name in ("resource", "queue", "json", "statistics"):
        write_script(f"limit = 3\nprint('my {name}')\n", f"{name}.py")
    script = write_script("import queue, resource\nprint(queue.limit, resource.limit)\n")
    _, recorded = both(run_python, run_timeline, script, options=())
    assert (recorded.recording / "report.png").exists()


def test_recording_in_code_leaves_a_resource_of_the_program_alone(write_script, run_python):
    write_script("limit = 3\n", "resource.py")
    ended = run_python(
        write_script(
            "import timeline, resource\n"
            "with timeline.Recorder('run', charts=False):\n"
            "    with timeline.phase('own'): print(resource.limit)\n"
        )
    )
    assert (ended.stdout, ended.code) == ("3\n", 0), ended.stderr
    assert "Traceback" not in ended.stderr


def test_standard_input_reaches_the_program(write_script, run_python, run_timeline):
    script = write_script("import sys\nprint(input('name? '), sys.stdin.read().upper())")
    both(run_python, run_timeline, script, input="one\ntwo\nthree")


def test_a_script_from_standard_input_runs(run_python, run_timeline):
    both(run_python, run_timeline, "-", "a", input="import sys\nprint(sys.argv, __name__)")


def test_output_comes_while_the_program_runs_and_not_at_its_end(write_script, run_timeline):
    script = write_script("import os\nos.write(1, b'a')\nprint('b', end='')\nos.write(1, b'c')")
    assert run_timeline(script).stdout == "acb"


def test_modules_packages_directories_and_zips_run(
    write_script, run_python, run_timeline, tmp_path
):
    write_script("from . import near\nprint(near.__name__, __name__, __package__)", "pkg/mod.py")
    write_script("print('near', __name__)", "pkg/near.py")
    write_script("", "pkg/__init__.py")
    write_script(textwrap.dedent(ABOUT_ITSELF), "pkg/__main__.py")
    write_script("import sys; print(sys.argv, __file__, __spec__, sys.path[0])", "dir/__main__.py")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.write(tmp_path / "dir/__main__.py", "__main__.py")
    both(run_python, run_timeline, "-m", "pkg", "-m", "x")
    both(run_python, run_timeline, "-m", "pkg.mod", "a", options=("--no-charts", "--force"))
    both(run_python, run_timeline, "dir", "a", options=("--no-charts", "--force"))
    both(run_python, run_timeline, "app.zip", "a", options=("--no-charts", "--force"))
    both(run_python, run_timeline, "-m", "pkg.none", options=("--no-charts", "--force"))
    both(run_python, run_timeline, "./dir/../dir/__main__.py", options=("--no-charts", "--force"))


def test_the_sitecustomize_that_is_hidden_runs(write_script, run_python, run_timeline, tmp_path):
    # The launcher is a Python, too, and runs it for itself: only what the program knows counts.
    write_script("import sys\nsys.theirs = __name__, __file__", "site/sitecustomize.py")
    script = write_script("import sys, sitecustomize\nprint(sys.theirs, sitecustomize, sys.path)")
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path / 'site'}"}
    plain, _ = both(run_python, run_timeline, script, env=env)
    assert "site/sitecustomize.py" in plain.stdout


def test_a_sitecustomize_that_fails_is_reported_as_ever(
    write_script, run_python, run_timeline, tmp_path
):
    write_script("raise RuntimeError('broken')", "site/sitecustomize.py")
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path / 'site'}"}
    script = write_script("import sys; print('sitecustomize' in sys.modules)")
    plain, recorded = run_python(script, env=env), run_timeline(script, env=env)
    assert recorded.stdout == plain.stdout
    # Once for the launcher, which is a Python, too.
    assert "broken" in plain.stderr
    assert recorded.stderr.startswith(plain.stderr * 2)


@pytest.mark.parametrize("value", [str(ROOT) + ":", f"{ROOT}::/nowhere", f":{ROOT}"])
def test_an_odd_pythonpath_is_kept(value, write_script, run_python, run_timeline):
    script = write_script("import sys, os; print(sys.path, os.environ['PYTHONPATH'])")
    both(run_python, run_timeline, script, env={"PYTHONPATH": value})


def test_a_module_beside_the_script_that_we_would_hide_keeps_its_place(
    write_script, run_python, run_timeline
):
    write_script("NAME = 'theirs'", "resource.py")
    write_script("NAME = 'theirs'", "timeline.py")
    script = write_script("import resource, timeline; print(resource.NAME, timeline.NAME)")
    # Not by -m, which would find their timeline.py in the working directory.
    plain, recorded = both(run_python, run_timeline, script, cwd=ROOT)
    assert plain.stdout == "theirs theirs\n"
    assert "no phases" in recorded.stderr


def test_a_recorder_that_no_pythonpath_can_hold_leaves_nothing_in_the_environment(
    write_script, run_python, tmp_path
):
    place = tmp_path / "a:b"
    place.mkdir()
    (place / "timeline").symlink_to(ROOT / "timeline")
    script = write_script("import os; print(sorted(os.environ.items()))")
    plain = run_python(script, cwd=place)
    recorded = run_python(
        "-m", "timeline", "--no-charts", "-o", tmp_path / "run.timeline", script, cwd=place
    )
    same(plain, recorded)
    assert "no phases: PYTHONPATH cannot hold" in recorded.stderr


def test_profile_left_in_a_script_makes_phases(write_script, run_timeline):
    script = write_script(
        textwrap.dedent("""
            @profile
            def work(a, b=2):
                "doc"
                return a + b
            @profile(precision=4)
            def other(): return work(5)
            @profile
            def generator(): yield 1
            class C:
                @profile
                def method(self): return 3
            print(work(1), work.__name__, work.__doc__, other(), list(generator()), C().method())
        """)
    )
    ended = run_timeline(script)
    assert ended.stdout == "3 work doc 7 [1] 3\n"
    events = next(ended.recording.glob("events.*")).read_text()
    for name in ("work", "other", "C.method"):
        assert f'"p":"{name}"' in events


def test_memory_profilers_own_profile_stays_its_own(write_script, run_python, run_timeline):
    script = write_script(
        "from memory_profiler import profile\n@profile(stream=open('/dev/null', 'w'))\n"
        "def f(): return 1\nprint(f(), profile.__module__)\n"
    )
    both(run_python, run_timeline, script)
