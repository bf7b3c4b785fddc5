# Runs inside the guest: guest.sh SECONDS PART... ; what happens goes to stdout as lines that begin
# with "@", for vm_test to judge. Loads are tiers_load's, one JSON object each.
seconds=$1
shift
sched_ext=/sys/kernel/sched_ext
state=$sched_ext/state
cpu1=/sys/devices/system/cpu/cpu1/online
groups=/sys/fs/cgroup
ours="--rule tgid:$$=critical"

# Under load every process that this script starts waits its turn: what is in a loop is done by the
# shell itself, which has a rule of its own in the modes that know rules (not a nice value: children
# would have it, too, and what they do about it while a scheduler is enabled, the kernel's own
# scheduler does not see).

is_state() { # is_state STATE: whether sched_ext is in it
    read -r found <$state
    [ "$found" = "$1" ]
}

look() {
    read -r found <$state
    echo "@state $found"
}

await() { # await STATE: up to 60 s, and for enabled as long as there is a scheduler
    i=0
    while ! is_state "$1" && [ $i -lt 300 ]; do
        [ "$1" = enabled ] && ! kill -0 $scheduler 2>/dev/null && break
        sleep 0.2
        i=$((i + 1))
    done
    look
}

start() { # start LOG COMMAND...: the scheduler, enabled; false if it is not
    log=$1
    shift
    "$@" >"$log.out" 2>"$log.err" &
    scheduler=$!
    await enabled
    is_state enabled || { finish INT && false; }
}

finish() { # finish SIGNAL: ends it and tells what it said
    kill -"$1" $scheduler 2>/dev/null
    wait $scheduler
    echo "@rc $?"
    await disabled
    sed 's/^/@said /' $log.err
    grep '"total":true' $log.out | sed 's/^/@stats /'
}

hotplug() { # hotplug 0|1: CPU 1 goes or comes, and the scheduler, if there is one, comes back
    read -r before <$sched_ext/enable_seq
    echo "$1" >$cpu1
    [ -n "$scheduler" ] || return
    i=0
    while [ $i -lt 60 ] && kill -0 $scheduler 2>/dev/null; do
        read -r after <$sched_ext/enable_seq
        [ "$after" -gt "$before" ] && is_state enabled && break
        sleep 1
        i=$((i + 1))
    done
    dmesg | awk -F '[][]' '/sched_ext: BPF scheduler .* disabled/ { gone = $2 }
        /sched_ext: BPF scheduler .* enabled/ { away = $2 - gone }
        END { printf "@restart %d\n", away * 1000 }'
    look
}

watch() { # watch NAME [hotplug]: a look at the state every second until the load has ended
    read -r start _ </proc/uptime
    left= back=
    while kill -0 $work 2>/dev/null; do
        # A third of the time on one CPU.
        read -r now _ </proc/uptime
        passed=$((${now%.*} - ${start%.*}))
        if [ "$2" = hotplug ] && [ -z "$left" ] && [ $passed -ge $((seconds / 3)) ]; then
            left=yes
            hotplug 0
        elif [ "$2" = hotplug ] && [ -z "$back" ] && [ $passed -ge $((seconds * 2 / 3)) ]; then
            back=yes
            hotplug 1
        fi
        [ -n "$scheduler" ] && look
        sleep 1
    done
    wait $work || sed 's/^/@said /' load.err
    # The load may have ended while the CPU was away.
    read -r online <$cpu1
    [ "$online" = 1 ] || hotplug 1
    sed "s/^/@$1 /" load.out
}

load() { # load NAME WORD...: tiers_load WORD..., watched
    name=$1
    shift
    ./tiers_load "$@" >load.out 2>load.err &
    work=$!
    watch "$name"
}

mixed() { # everything at once, and a CPU that goes and comes back
    ./tiers_load all --seconds $seconds >load.out 2>load.err &
    work=$!
    watch all hotplug
}

arguments() { # what a mode needs on the command line
    case $1 in
    deadline) echo "--mode deadline $ours --rule comm:tl_fits=-,40000 --rule comm:tl_late=-,5000" ;;
    user) echo "--user $ours" ;;
    user-deadline) echo "--user $(arguments deadline)" ;;
    fifo) echo "--mode fifo" ;;
    *) echo "--mode $1 $ours" ;;
    esac
}

refused() { # refused NAME COMMAND...: what a command that must not work says
    echo "@refusal $1"
    shift
    "$@" >r.out 2>r.err
    echo "@refused $?"
    sed 's/^/@said /' r.err
}

mkdir -p /etc
echo "@release $(uname -r)"
for part in "$@"; do
    echo "@part $part"
    scheduler=
    case $part in
    default)
        mixed
        load rivals rivals --seconds 5
        load urgent urgent --seconds 5
        ;;
    stop)
        # User space stops for 3 s under load, then goes on.
        start stop ./scx_tiers --gate=off --user --stats-json --stats 1000 || continue
        ./tiers_load all --seconds 8 >load.out 2>load.err &
        work=$!
        sleep 2
        kill -STOP $scheduler
        sleep 3
        look
        kill -CONT $scheduler
        watch all
        finish INT
        ;;
    kill)
        # User space dies under load: the kernel goes on by itself.
        start kill ./scx_tiers --gate=off --user || continue
        ./tiers_load all --seconds 6 >load.out 2>load.err &
        work=$!
        sleep 2
        finish KILL
        scheduler=
        watch all
        ;;
    example)
        start example ./fifo || continue
        load all all --seconds 5
        finish INT
        ;;
    caches)
        # Four CPUs with two last-level caches.
        start caches ./scx_tiers --gate=off --stats-json --stats 1000 || continue
        load all all --seconds $seconds --hogs 3
        load rivals rivals --seconds 8 --hogs 4
        finish INT
        ;;
    cgroups)
        # Equal hogs in two groups; then the groups change places.
        echo +cpu >$groups/cgroup.subtree_control
        mkdir $groups/front $groups/back
        echo 1000 >$groups/front/cpu.weight
        echo 20 >$groups/back/cpu.weight
        start cgroups ./scx_tiers --gate=off --level-from cgroup --stats-json --stats 1000 || continue
        load rivals groups --seconds 6 $groups/front $groups/back
        echo 20 >$groups/front/cpu.weight
        echo 1000 >$groups/back/cpu.weight
        load swapped groups --seconds 6 $groups/front $groups/back
        finish INT
        rmdir $groups/front $groups/back
        ;;
    rules)
        # Four hogs with deadlines by their level; one has a rule by its process id.
        for i in 1 2 3; do
            ./tiers_load one hog 0 10 >other$i.out &
        done
        ./tiers_load one hog 0 10 >favoured.out &
        work=$!
        start rules ./scx_tiers --gate=off --mode deadline --level-deadline normal=100000 \
            --rule tgid:$work=critical,20000 --stats-json --stats 1000 || continue
        wait $work
        sed 's/^/@favoured /' favoured.out
        finish INT
        wait
        sed 's/^/@other /' other*.out
        ;;
    refusals)
        echo nobody:x:65534:65534::/:/bin/sh >/etc/passwd
        refused user start-stop-daemon -S -c nobody -x /work/scx_tiers
        refused usage ./scx_tiers --user --mode fifo
        start refusals ./scx_tiers --gate=off --mode fifo || continue
        refused other ./scx_tiers --gate=off
        finish INT
        ;;
    broken)
        while read -r name mode _; do
            echo "@broken $name"
            # shellcheck disable=SC2046
            ./scx_tiers $(arguments $mode) --object $name.bpf.o --duration 1 >b.out 2>b.err
            echo "@gate $?"
            sed 's/^/@gatesaid /' b.err
            # shellcheck disable=SC2046
            ./scx_tiers $(arguments $mode) --object $name.bpf.o --gate=off --duration 3 >b.out 2>b.err &
            scheduler=$!
            sleep 1
            ./tiers_load rivals --seconds 2 >/dev/null
            wait $scheduler
            echo "@ungated $?"
            sed 's/^/@said /' b.err
            await disabled
        done <variants.tsv
        ;;
    *)
        # shellcheck disable=SC2046
        start $part ./scx_tiers $(arguments $part) --stats-json --stats 1000 || continue
        mixed
        load rivals rivals --seconds 5
        load urgent urgent --seconds 5
        finish INT
        ;;
    esac
done
dmesg | grep -iE 'sched_ext:|warning:|bug:|oops|stall|lockup|rcu: info' | grep -viE 'command line' | sed 's/^/@dmesg /'
echo "@done"
