"""A model of a disk that loses power: what may be found on it after any prefix of the system calls of a program.

The harshest that POSIX allows, but for one thing: a rename happens whole or not at all. A file's bytes are safe once
the file was synced, before that half of them are lost. A name in a folder (made, renamed, removed) is safe once the
folder was synced; before that any selection of the changes may have reached the disk, in any order.
"""

import itertools
import os
from pathlib import Path


def record(monkeypatch, root):
    """Records what this process does below `root` from here on: a list of (call, path, ...) that grows."""
    calls, handles = [], {}
    real = {name: vars(os)[name] for name in ("open", "close", "fsync", "mkdir", "replace", "unlink", "rmdir")}

    def place(path, dir_fd=None):
        path = Path(os.fsdecode(path))
        return handles[dir_fd] / path if dir_fd in handles else path

    def note(call, *paths):
        if all(path.is_relative_to(root) for path in paths):
            calls.append((call, *paths))

    def opened(path, flags, mode=0o777, *, dir_fd=None):
        at = place(path, dir_fd)
        if flags & os.O_CREAT and not at.exists():
            note("create", at)
        handle = real["open"](path, flags, mode, dir_fd=dir_fd)
        handles[handle] = at
        return handle

    def closed(handle):
        handles.pop(handle, None)
        real["close"](handle)

    def seen(path):
        if path.is_file():  # other libraries write unnoticed: what is there now is what they wrote
            calls.append(("write", path, path.read_bytes()))

    def synced(handle):
        seen(handles[handle])
        note("sync", handles[handle])
        real["fsync"](handle)

    def simple(name):
        def call(path, *words, dir_fd=None, **options):
            real[name](path, *words, dir_fd=dir_fd, **options)
            note(name, place(path, dir_fd))

        return call

    def replaced(source, target):
        seen(Path(source))
        real["replace"](source, target)
        note("replace", Path(source), Path(target))

    for name, fake in (("open", opened), ("close", closed), ("fsync", synced), ("replace", replaced)):
        monkeypatch.setattr(os, name, fake)
    for name in ("mkdir", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, simple(name))
    return calls


class Disk:
    """Inodes by number, and the changes of names that no sync has made safe yet."""

    def __init__(self, root):
        self.root = root
        self.safe = {}  # path to inode, on the disk
        self.now = {}  # the same as the running system sees it
        self.pending = []  # changes of names: (folder, {path: inode or None})
        self.written, self.kept = {}, {}  # bytes by inode: as seen, and on the disk
        for path in sorted(root.rglob("*")):
            self.safe[path] = self.now[path] = path  # any unique thing will do as an inode
            if path.is_file():
                self.written[path] = self.kept[path] = path.read_bytes()

    def apply(self, call, path, *rest):
        if call in ("create", "mkdir"):
            self._change(path.parent, {path: object()})
        elif call == "write":
            self.written[self.now[path]] = rest[0]
        elif call == "replace":
            self._change(rest[0].parent, {rest[0]: self.now[path], path: None})
        elif call in ("unlink", "rmdir"):
            self._change(path.parent, {path: None})
        elif path in self.now and self.now[path] in self.written:  # a file synced
            self.kept[self.now[path]] = self.written[self.now[path]]
        else:  # a folder synced
            for folder, names in self.pending:
                if folder == path:
                    self.safe |= names
            self.pending = [change for change in self.pending if change[0] != path]

    def _change(self, folder, names):
        self.now |= names
        self.pending.append((folder, names))

    def after_power_loss(self):
        """Every set of files that may be found, as dicts from path to bytes."""
        for some in range(len(self.pending) + 1):
            for reached in itertools.combinations(self.pending, some):
                names = dict(self.safe)
                for _, change in reached:
                    names |= change
                yield {
                    path: self.kept.get(inode, self._half(inode))
                    for path, inode in names.items()
                    if inode in self.written and self._reachable(path, names)
                }

    def _half(self, inode):
        return self.written[inode][: len(self.written[inode]) // 2]

    def _reachable(self, path, names):
        return all(names.get(up) for up in path.parents if up != self.root and up.is_relative_to(self.root))
