#!/bin/busybox sh
# The first process of a machine, in its initramfs. It makes the root, an overlay in memory over the files of the real
# machine, and hands over to run.sh or systemd in it. /settings is machine.py's.
/bin/busybox --install -s /bin
. /settings

mkdir -p /proc /sys /host /folder /memory /new
mount -t devtmpfs dev /dev
for module in $INSMOD; do insmod "/modules/$module"; done
if [ "$KIND" = uml ]; then
  mount -t hostfs -o ro,/ none /host
  # What is written waits in the guest's page cache otherwise, and is lost when the machine is switched off.
  mount -t hostfs -o "sync,$FOLDER" none /folder
else
  mount -t virtiofs -o ro host /host
  mount -t virtiofs folder /folder
fi
mount -t tmpfs -o size=75% memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /new

mkdir -p /new/vm "/new/lib/modules/$RELEASE"
mount --move /folder /new/vm
mount --bind "/host$MODULES" "/new/lib/modules/$RELEASE"
: > /new/etc/fstab
hostname vm

# /run and /tmp are empty, but for the project where it is in one of them.
for folder in run tmp; do
  mount -t tmpfs "$folder" /memory/work
  case $PROJECT in
    /$folder/*) mkdir -p "/memory/work/${PROJECT#/$folder/}"
                mount --bind "/new$PROJECT" "/memory/work/${PROJECT#/$folder/}"
                mount --rbind /memory/work "/new/$folder"
                umount -l /memory/work ;;
    *) mount --move /memory/work "/new/$folder" ;;
  esac
  chmod 1777 /new/tmp
done

mount --move /dev /new/dev
if [ "$SYSTEMD" = yes ]; then
  # Of the real machine's services none is started, and the device manager has nothing to manage.
  rm -f /new/etc/systemd/system/*.wants/* /new/lib/systemd/system/sysinit.target.wants/systemd-udev*
  rm -f /new/lib/systemd/system/multi-user.target.wants/getty.target
  cp /new/vm/command.service /new/etc/systemd/system/
  mkdir -p /new/etc/systemd/system/multi-user.target.wants
  ln -s ../command.service /new/etc/systemd/system/multi-user.target.wants/
  ln -sf /lib/systemd/system/multi-user.target /new/etc/systemd/system/default.target
  exec switch_root /new /lib/systemd/systemd --show-status=0 --log-level=warning
fi
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t cgroup2 cgroup /new/sys/fs/cgroup
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts pts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
exec switch_root /new /bin/bash /vm/run.sh
