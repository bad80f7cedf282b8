# bash completion for gantry. To use it: source <(gantry completion bash)

__gantry_complete()
{
    local line=${COMP_LINE:0:COMP_POINT} directive=0 words current part prefix candidate
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[${#words[@]}-1]}
    # bash parts words at = and : too, and wants only the part after them.
    part=${COMP_WORDS[COMP_CWORD]}
    [[ $part == "=" || $part == ":" ]] && part=""
    prefix=${current%"$part"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        case $candidate in
            :[0-9]) directive=${candidate#:} ;;
            *)
                candidate=${candidate%%$'\t'*}
                COMPREPLY+=("${candidate#"$prefix"}")
                ;;
        esac
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
    (( directive & 2 )) && compopt -o nospace 2>/dev/null
    (( directive & 4 )) && compopt +o default 2>/dev/null
    return 0
}

complete -o default -F __gantry_complete gantry
