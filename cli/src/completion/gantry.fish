# fish completion for gantry. To use it: gantry completion fish | source

function __gantry_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l results ($words[1] __complete -- $words[2..-1] "$current" 2>/dev/null)
    if test "$results[-1]" = ":0"
        __fish_complete_path "$current"
    end
    for result in $results
        string match -q -r '^:\d$' -- $result; or echo $result
    end
end

complete -c gantry -e
complete -c gantry -f -a '(__gantry_complete)'
