/** Scripts that make a shell complete `ktrace`: each asks `ktrace __complete` with the words so far and obeys the `:DIRECTIVE` of its last line. */
export const COMPLETION_SCRIPTS: Record<'bash' | 'zsh' | 'fish' | 'powershell', string> = {
  bash: `# ktrace completion for bash. Load it now: source <(ktrace completion bash)
# For every shell: ktrace completion bash > /etc/bash_completion.d/ktrace
_ktrace() {
  local IFS=$'\\n' line directive=0 candidates=() words=() at last=-1 current lead
  # bash breaks --output=json into three words; what is completed is the last of them.
  for (( at = 1; at <= COMP_CWORD; at++ )); do
    current=\${COMP_WORDS[at]}
    if (( last >= 0 )) && { [[ $current == = && \${words[last]} == --* && \${words[last]} != *=* ]] || [[ \${words[last]} == --*= ]]; }; then
      words[last]+=$current
    else
      words[++last]=$current
    fi
  done
  [[ $current == = ]] && current=
  lead=\${words[last]%"$current"}
  while IFS= read -r line; do
    case $line in
      :*) directive=\${line#:} ;;
      *) line=\${line%%$'\\t'*}; candidates+=("\${line#"$lead"}") ;;
    esac
  done < <("\${COMP_WORDS[0]}" __complete "\${words[@]}" 2>/dev/null)
  COMPREPLY=("\${candidates[@]}")
  (( directive & 2 )) && compopt -o nospace
  (( directive & 4 )) || compopt -o default
}
complete -o nosort -F _ktrace ktrace
`,
  zsh: `#compdef ktrace
# ktrace completion for zsh. Load it now: source <(ktrace completion zsh)
# For every shell, in a folder of your fpath: ktrace completion zsh > "\${fpath[1]}/_ktrace"
_ktrace() {
  local line directive=0
  local -a candidates plain
  while IFS= read -r line; do
    case $line in
      :*) directive=\${line#:} ;;
      *$'\\t'*) candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
      *) plain+=("$line") ;;
    esac
  done < <("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#candidates} )) && _describe 'ktrace' candidates
  if (( \${#plain} )); then
    if (( directive & 2 )); then compadd -S '' -- "\${plain[@]}"; else compadd -- "\${plain[@]}"; fi
  fi
  (( directive & 4 )) || _files
}
compdef _ktrace ktrace
`,
  fish: `# ktrace completion for fish. Load it now: ktrace completion fish | source
# For every shell: ktrace completion fish > ~/.config/fish/completions/ktrace.fish
function __ktrace_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
    if not string match -q ':*' -- $line
      echo $line
    else if test (math "floor("(string sub -s 2 -- $line)" / 4) % 2") -eq 0
      __fish_complete_path (commandline -ct)
    end
  end
end
complete -c ktrace -f -a '(__ktrace_complete)'
`,
  powershell: `# ktrace completion for PowerShell. Load it now: ktrace completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName ktrace -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $words = @($commandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" })
  if ($wordToComplete -eq '') { $words += '""' }
  & ktrace __complete @words 2>$null | Where-Object { $_ -notmatch '^:' } | ForEach-Object {
    $name, $text = $_ -split "\`t", 2
    [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $(if ($text) { $text } else { $name }))
  }
}
`,
};
