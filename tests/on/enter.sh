#!/bin/sh
# The first process in the namespaces of `./dev on` (tests/on/__main__.py): makes a copy of the root that goes away with
# them its own root, and runs a command in the project's folder in it.
#   enter.sh STORE RUN HOSTNAME PROJECT COMMAND ...
# RUN has files/ (what of this machine is copied into the root), binds (folders of this machine that appear in the root:
# three lines for each, rw or ro, the source and the target) and environment (the command's variables).
set -e
store=$1 run=$2 name=$3 project=$4
shift 4

mount --make-rprivate /
mkdir "$run/root" "$run/upper" "$run/work"
if ! mount -t overlay -o "lowerdir=$store/root,upperdir=$run/upper,workdir=$run/work" root "$run/root" 2>/dev/null; then
  cp -a --reflink=auto "$store/root/." "$run/root"
  mount --bind "$run/root" "$run/root"
fi
cd "$run/root"
cp -a "$run/files/." .
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 shm dev/shm
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs -o mode=755 run run
mkdir run/lock
while IFS= read -r mode && IFS= read -r source && IFS= read -r target; do
  mkdir -p ".$target"
  mount -o "bind,$mode" "$source" ".$target"
done <"$run/binds"
hostname "$name"
environment=$(cat "$run/environment")
pivot_root . mnt
cd "$project"
umount -l /mnt
# Not by exec: the first process of a PID namespace does not get a signal that it has no handler for.
eval "env -i $environment \"\$@\""
