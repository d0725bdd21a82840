#!/usr/bin/env python3
"""The deepest stack of an Arm image without recursion, from its disassembly: `stack.py OBJDUMP IMAGE [FUNCTION]`, from that function on or from the start.

Frames are what a function pushes and subtracts from the stack pointer anywhere in it (an upper bound); calls are its branches to other functions. An indirect
call may reach every function that nobody calls directly.
"""
import re
import subprocess
import sys

text = subprocess.run([sys.argv[1], "-d", "-C", "--no-show-raw-insn", sys.argv[2]], check=True, capture_output=True, text=True).stdout
functions, frames, calls, indirect = {}, {}, {}, set()
name = None
pending = 0
for line in text.splitlines():
    start = re.match(r"([0-9a-f]+) <(.*)>:$", line)
    if start:
        name = f"{start[2]}@{start[1]}"
        functions[int(start[1], 16)] = name
        frames[name], calls[name] = 0, set()
        continue
    instruction = re.match(r"\s*[0-9a-f]+:\s+(\S+)\s*(.*)$", line)
    if not (instruction and name):
        continue
    operation, operands = instruction[1].split(".")[0], instruction[2]
    if operation in ("push", "stmdb") and (operation == "push" or operands.startswith("sp!")):
        for first, last in re.findall(r"(?:r(\d+)-r(\d+))", operands):
            frames[name] += 4 * (int(last) - int(first))
        frames[name] += 4 * len(re.findall(r"r\d+(?!-)(?!\d)|lr|fp|sl|ip|sb", re.sub(r"r\d+-", "", operands.replace("sp!", ""))))
    elif operation == "vpush":
        for first, last in re.findall(r"[sd](\d+)-[sd](\d+)", operands) or [("0", "0")]:
            frames[name] += (8 if "d" in operands else 4) * (int(last) - int(first) + 1)
    elif operation in ("str",) and re.search(r"\[sp, #-(\d+)\]!", operands):
        frames[name] += int(re.search(r"\[sp, #-(\d+)\]!", operands)[1])
    elif operation in ("sub", "subw") and operands.startswith("sp"):
        amount = re.search(r"#(\d+)", operands)
        if amount:
            frames[name] += int(amount[1])
        else:
            sys.exit(f"{name}: a frame of unknown size: {line}")
    elif operation in ("blx", "bx") and re.match(r"r\d+|ip", operands):
        indirect.add(name)
    elif operation.startswith("b"):
        target = re.match(r"([0-9a-f]+) <", operands)
        if target:
            calls[name].add(int(target[1], 16))

direct = {target for of in calls.values() for target in of}
free = [name for address, name in functions.items() if address not in direct and not name.startswith("_start")]


def depth(name, path=()):
    if name in path:
        # By an indirect call that may be another one: nothing here calls itself.
        return 0, []
    targets = [functions[target] for target in calls[name] if functions.get(target, name) != name]
    if name in indirect:
        targets += [other for other in free if other not in path and other != name]
    deepest = max((depth(target, (*path, name)) for target in targets), default=(0, []))
    return frames[name] + deepest[0], [f"{name.split('@')[0]} {frames[name]}", *deepest[1]]


start = sys.argv[3] if len(sys.argv) > 3 else "_start"
entry = next(name for name in frames if name.startswith(start + "@"))
total, path = depth(entry)
print(f"{total}, by " + " > ".join(re.sub(r"[\w]+::", "", step) for step in path))
