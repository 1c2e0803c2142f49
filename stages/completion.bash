# Completes papers and their runs in bash and zsh: python -m stages.launch PAPER RUN ...
#
#     source stages/completion.bash
#
# zsh needs its emulation of bash's completion first:
#
#     autoload -Uz compinit bashcompinit && compinit && bashcompinit
#
# Until this shell ends it stands in for any other completion of `python`. Other Python commands complete file names.

_stages_launch() {
    local papers=reports/papers names
    COMPREPLY=()
    [[ ${COMP_WORDS[*]:1:2} == "-m stages.launch" ]] || return 0
    if ((COMP_CWORD == 3)); then
        names=$(ls -d "$papers"/*/plan.yaml 2>/dev/null | sed 's|/plan.yaml$||; s|.*/||')
    else # a plan has each run's name at the beginning of a line
        names=$(sed -n 's/^\([^ #][^:]*\):.*/\1/p' "$papers/${COMP_WORDS[3]}/plan.yaml" 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$names" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o bashdefault -o default -F _stages_launch python python3
