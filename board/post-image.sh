#!/bin/sh
# Run by Buildroot on the images folder ($1), after the file systems are made: the image of the whole card, sdcard.img.
# The layout is genimage.cfg in the folder of the kind of device ($2); the file system of the first partition is made of
# what firmware and kernel have left here.
set -eu
images=$1
layout=$2
work=${BUILD_DIR:?}/zeroforce-genimage

rm -rf "$work"
mkdir -p "$work/root" "$work/tmp"
kernel=$(sed -n 's/^kernel=//p' "$images/rpi-firmware/config.txt")
list=''
for file in "$images"/rpi-firmware/* "$images"/*.dtb "$images/$kernel"; do
	list="$list\"${file#"$images"/}\", "
done
sed "s|@BOOT_FILES@|$list|" "$layout/genimage.cfg" >"$work/genimage.cfg"
genimage --config "$work/genimage.cfg" --inputpath "$images" --outputpath "$images" \
	--rootpath "$work/root" --tmppath "$work/tmp"
rm -rf "$work"
