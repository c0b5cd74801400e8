# Runs in the guest: a program of the checkout, whose compiled modules are kept for the processes that it starts.
mkdir /project
busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose checkout /project
export PYTHONPATH=/project:/project/tests:/project/tests/lpar:/project/tests/lpar/stand_ins PYTHONPYCACHEPREFIX=/tmp/compiled NO_COLOR=1
libraries=/usr/lib/powerpc64le-linux-gnu
export LD_LIBRARY_PATH=$libraries/blas:$libraries/lapack  # what update-alternatives would have linked
cd /tmp
python3 "/project/tests/lpar/$(cat /job/program)"
