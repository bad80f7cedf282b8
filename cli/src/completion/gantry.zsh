#compdef gantry
# zsh completion for gantry. To use it: source <(gantry completion zsh)

_gantry()
{
    local line value directive=0
    local -a candidates options
    for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            :[0-9]) directive=${line#:} ;;
            *$'\t'*)
                value=${line%%$'\t'*}
                candidates+=("${value//:/\\:}:${line#*$'\t'}")
                ;;
            ?*) candidates+=("${line//:/\\:}") ;;
        esac
    done
    (( directive & 2 )) && options=(-S '')
    if (( ${#candidates} )); then
        _describe -t candidates candidate candidates "${options[@]}"
    elif (( ! (directive & 4) )); then
        _files
    fi
}

(( ${+functions[compdef]} )) && compdef _gantry gantry
