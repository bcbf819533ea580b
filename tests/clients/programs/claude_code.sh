# Claude Code without its terminal. It always streams.
ask="What is the answer?"
[ "$1" = tool ] && ask="Add 3 and 4 with echo."
claude -p "$ask" --model claude-opus-5-5 --allowedTools "Bash(echo:*)"
