# Runs inside the guest: guest.sh SECONDS MODE... ; what happens goes to stdout as lines that begin
# with "@", for vm_test to judge. Loads are tiers_load's, one JSON object each.
seconds=$1
shift
state=/sys/kernel/sched_ext/state

await() { # await STATE: up to 60 s
    i=0
    while [ "$(cat $state)" != "$1" ] && [ $i -lt 300 ]; do
        sleep 0.2
        i=$((i + 1))
    done
    echo "@state $(cat $state)"
}

start() { # start LOG COMMAND...: the scheduler, enabled
    log=$1
    shift
    "$@" >"$log.out" 2>"$log.err" &
    scheduler=$!
    await enabled
}

finish() { # finish SIGNAL: ends it and tells what it said
    kill -"$1" $scheduler
    wait $scheduler
    echo "@rc $?"
    await disabled
    sed 's/^/@said /' $log.err
    grep '"total":true' $log.out | sed 's/^/@stats /'
}

load() { # load KIND SECONDS: the load, with a look at the state every second
    ./tiers_load $1 --seconds $2 >load.out 2>load.err &
    work=$!
    while kill -0 $work 2>/dev/null; do
        echo "@state $(cat $state)"
        sleep 1
    done
    wait $work || sed 's/^/@said /' load.err
    sed "s/^/@$1 /" load.out
}

arguments() { # what a mode needs on the command line
    case $1 in
    deadline) echo "--mode deadline --level-deadline high=40000 --rule comm:tl_late=normal,5000" ;;
    user) echo "--user" ;;
    user-deadline) echo "--user --mode deadline --level-deadline high=40000" ;;
    *) echo "--mode $1" ;;
    esac
}

echo "@release $(uname -r)"
for mode in "$@"; do
    echo "@part $mode"
    case $mode in
    default)
        ./tiers_load all --seconds $seconds | sed 's/^/@all /'
        ;;
    hotplug)
        start hotplug ./scx_tiers --gate=off --mode throughput
        ./tiers_load all --seconds 12 >load.out &
        work=$!
        sleep 2
        echo 0 >/sys/devices/system/cpu/cpu1/online
        sleep 4
        echo 1 >/sys/devices/system/cpu/cpu1/online
        wait $work
        sed 's/^/@all /' load.out
        await enabled
        finish INT
        ;;
    stop)
        # User space stops for 3 s under load, then goes on.
        start stop ./scx_tiers --gate=off --user --stats-json --stats 1000
        ./tiers_load all --seconds 8 >load.out &
        work=$!
        sleep 2
        kill -STOP $scheduler
        sleep 3
        echo "@state $(cat $state)"
        kill -CONT $scheduler
        wait $work
        sed 's/^/@all /' load.out
        echo "@state $(cat $state)"
        finish INT
        ;;
    kill)
        # User space dies under load: the kernel goes on by itself.
        start kill ./scx_tiers --gate=off --user
        ./tiers_load all --seconds 6 >load.out &
        work=$!
        sleep 2
        finish KILL
        wait $work
        sed 's/^/@all /' load.out
        ;;
    example)
        start example ./fifo
        load all 5
        finish INT
        ;;
    broken)
        while read -r name of _; do
            echo "@broken $name"
            # shellcheck disable=SC2046
            ./scx_tiers $(arguments $of) --object $name.bpf.o --duration 1 >b.out 2>b.err
            echo "@gate $?"
            sed 's/^/@gatesaid /' b.err
            # shellcheck disable=SC2046
            ./scx_tiers $(arguments $of) --object $name.bpf.o --gate=off --duration 3 >b.out 2>b.err &
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
        start $mode ./scx_tiers $(arguments $mode) --stats-json --stats 1000
        load all $seconds
        [ $mode = fifo ] || load rivals 5
        finish INT
        ;;
    esac
done
dmesg | grep -iE 'sched_ext:|warning:|bug:|oops|stall|lockup|rcu: info' | grep -viE 'command line' | sed 's/^/@dmesg /'
echo "@done"
