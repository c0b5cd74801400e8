# Runs in the guest: a program of the project, whose modules were compiled for this Python by the host.
mkdir /project
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose project /project
export PYTHONPATH=/project:/project/tests:/project/tests/lpar:/project/tests/lpar/stand_ins NO_COLOR=1
libraries=/usr/lib/powerpc64le-linux-gnu
export LD_LIBRARY_PATH=$libraries/blas:$libraries/lapack  # what update-alternatives would have linked
cd /tmp
python3 "/project/tests/lpar/$(cat /job/program)"
