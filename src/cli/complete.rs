//! Completions for bash, zsh and fish, made from what the commands' help says they take.
//!
//! Invariant: a command, verb or option that the program has is completed, and no other; only the few values that
//! are words of a fixed choice stand here.

use std::fmt::Write as _;

use super::Shell;
use super::forms::{self, Form, Opt};

/// The values of options that are words of a choice, by the command with its verb.
const CHOICES: [(&str, &str, &[&str]); 6] = [
    ("list", "--format", &["table", "json", "csv", "mdc"]),
    ("list", "--state", &["new", "full"]),
    ("export", "--format", &["csv", "json", "sql", "mdc"]),
    ("target add", "--verify", &["checksum", "quick"]),
    ("update", "--set-state", &["new", "full"]),
    ("crontab", "--systemd", super::UNITS),
];

/// Operands that are words of a choice.
const OPERANDS: [(&str, &[&str]); 3] = [
    ("stage on", &["queue", "load", "run"]),
    ("stage off", &["queue", "load", "run"]),
    ("completions", super::SHELLS),
];

/// The completion for a shell.
pub fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(&forms::all()),
        Shell::Zsh => zsh(&forms::all()),
        Shell::Fish => fish(&forms::all()),
    }
}

fn key(form: &Form) -> String {
    form.path.join(" ")
}

/// Every name of an option, long and short, of one form or of all.
fn names<'f>(options: impl IntoIterator<Item = &'f Opt>) -> Vec<String> {
    options.into_iter().flat_map(|option| [option.long.clone(), option.short.clone()]).flatten().collect()
}

/// The names of all options that a value follows.
fn valued(forms: &[Form]) -> Vec<String> {
    let options = forms.iter().flat_map(|form| &form.options).filter(|option| option.takes_value);
    let mut names = names(options);
    names.sort();
    names.dedup();
    names
}

fn operands(form: &Form) -> Vec<&'static str> {
    let chosen = OPERANDS.iter().find(|(path, _)| *path == key(form)).map(|(_, words)| *words);
    form.words.iter().chain(chosen.unwrap_or_default()).copied().collect()
}

/// The commands that have verbs.
fn with_verbs(forms: &[Form]) -> Vec<String> {
    forms.iter().filter(|form| form.path.len() == 1 && !form.words.is_empty()).map(key).collect()
}

/// Bash and zsh find out in the same way what has been typed so far: the command, with its verb, in `key`.
fn find_key(forms: &[Form]) -> String {
    format!(
        "    for word in \"${{typed[@]}}\"; do
        if [ -n \"$skip\" ]; then skip=; continue; fi
        case $word in
            {}) skip=1 ;;
            -*) ;;
            *) path+=(\"$word\") ;;
        esac
    done
    [ \"${{path[*]:0:1}}\" = help ] && path=(\"${{path[@]:1}}\") && helping=1
    key=${{path[*]:0:1}}
    case $key in
        {}) key=${{path[*]:0:2}} ;;
    esac
",
        valued(forms).join("|"),
        with_verbs(forms).join("|")
    )
}

/// The cases that give `words` and `options` for a key, and `values` for the value of an option.
fn cases(forms: &[Form]) -> String {
    let top = forms.first().map(|form| names(&form.options)).unwrap_or_default();
    let mut text = String::from("    case $key in\n");
    for form in forms {
        let mut options = names(&form.options);
        options.extend(top.iter().filter(|name| !form.path.is_empty() && *name != "--help").cloned());
        let words = operands(form).join(" ");
        let help = if form.path.is_empty() { " help" } else { "" };
        let _ = writeln!(
            text,
            "        '{}') words='{words}{help}' options='{}' ;;",
            key(form),
            options.join(" ")
        );
    }
    text.push_str("    esac\n    case \"$key $previous\" in\n");
    for (path, option, values) in CHOICES {
        let _ = writeln!(text, "        '{path} {option}') values='{}' ;;", values.join(" "));
    }
    text.push_str("    esac\n");
    text
}

fn bash(forms: &[Form]) -> String {
    format!(
        "# Completion of minidvodbcopy for bash: source this file, or put it into
# ~/.local/share/bash-completion/completions/minidvodbcopy
_minidvodbcopy() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local word key skip= helping= words= options= values=
    local -a path=() typed=(\"${{COMP_WORDS[@]:1:COMP_CWORD - 1}}\")
{}{}    COMPREPLY=()
    if [ -n \"$skip\" ]; then
        # Without a choice it is a file, or a name that only its owner knows.
        [ -z \"$values\" ] || mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$current\")
    elif [[ $current == -* ]]; then
        [ -n \"$helping\" ] || mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")
    else
        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")
    fi
}}
complete -o default -F _minidvodbcopy minidvodbcopy
",
        find_key(forms),
        cases(forms)
    )
}

fn zsh(forms: &[Form]) -> String {
    format!(
        "#compdef minidvodbcopy
# Completion of minidvodbcopy for zsh: put this file as _minidvodbcopy into a folder of $fpath.
_minidvodbcopy() {{
    emulate -L zsh
    setopt ksh_arrays
    local previous=${{words[CURRENT - 2]}} current=${{words[CURRENT - 1]}}
    local -a path typed
    typed=(\"${{words[@]:1:CURRENT - 2}}\")
    local word key skip= helping= options= values= words=
    path=()
{}{}    unsetopt ksh_arrays
    if [[ -n $skip ]]; then
        if [[ -n $values ]]; then compadd -- ${{=values}}; else _files; fi
    elif [[ $current == -* ]]; then
        [[ -n $helping ]] || compadd -- ${{=options}}
    elif [[ -n $words ]]; then
        compadd -- ${{=words}}
    else
        _files
    fi
}}
_minidvodbcopy \"$@\"
",
        find_key(forms),
        cases(forms)
    )
}

fn fish(forms: &[Form]) -> String {
    let mut text = format!(
        "# Completion of minidvodbcopy for fish: put it into ~/.config/fish/completions/minidvodbcopy.fish
function __minidvodbcopy_typed --description 'the command and the verb that were typed'
    set -l skip
    set -l tokens (commandline -opc)
    for word in $tokens[2..]
        if test -n \"$skip\"
            set skip
            continue
        end
        switch $word
            case {}
                set skip 1
            case '-*' help
            case '*'
                echo $word
        end
    end
end
function __minidvodbcopy_is --description 'exactly these, and nothing else'
    set -l typed (__minidvodbcopy_typed)
    test \"$typed\" = \"$argv\"
end
function __minidvodbcopy_in --description 'these, and perhaps operands'
    set -l typed (__minidvodbcopy_typed)
    set -l most (count $argv)
    test \"$typed[1..$most]\" = \"$argv\"
end
complete -c minidvodbcopy -n __minidvodbcopy_is -f -a help -d 'what a command takes, with examples'
",
        valued(forms).iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(" ")
    );
    for form in forms {
        fish_form(&mut text, form, forms);
    }
    text
}

fn fish_form(text: &mut String, form: &Form, forms: &[Form]) {
    let key = key(form);
    let exactly = format!("__minidvodbcopy_is {key}");
    for word in &form.words {
        let path: Vec<&str> = form.path.iter().chain([word]).copied().collect();
        let about = forms.iter().find(|form| form.path == path).map_or("", |form| form.about.as_str());
        let _ =
            writeln!(text, "complete -c minidvodbcopy -n '{exactly}' -f -a {word} -d {}", fish_quoted(about));
    }
    for word in operands(form).iter().filter(|word| !form.words.contains(word)) {
        let _ = writeln!(text, "complete -c minidvodbcopy -n '__minidvodbcopy_in {key}' -f -a {word}");
    }
    for option in &form.options {
        // The options of the top level may stand anywhere.
        let condition =
            if key.is_empty() { String::new() } else { format!(" -n '__minidvodbcopy_in {key}'") };
        let mut line = format!("complete -c minidvodbcopy{condition}");
        for (flag, name) in [("-l", &option.long), ("-s", &option.short)] {
            if let Some(name) = name {
                let _ = write!(line, " {flag} {}", name.trim_start_matches('-'));
            }
        }
        if option.takes_value {
            line.push_str(" -r");
        }
        let choice =
            CHOICES.iter().find(|(path, name, _)| *path == key && Some(*name) == option.long.as_deref());
        if let Some((.., values)) = choice {
            let _ = write!(line, " -f -a '{}'", values.join(" "));
        }
        let _ = writeln!(text, "{line} -d {}", fish_quoted(&option.about));
    }
}

/// A word for fish, where a backslash escapes within quotes.
fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_belongs_to_an_option_that_takes_each_of_its_values() {
        let forms = forms::all();
        for (path, option, values) in CHOICES {
            let form = forms.iter().find(|form| key(form) == path).unwrap();
            let known = form.options.iter().find(|known| known.long.as_deref() == Some(option)).unwrap();
            assert!(known.takes_value);
            for value in values {
                let typed: Vec<&str> = form.path.iter().copied().chain([option, value]).collect();
                let refused = super::super::parse(typed.iter().map(Into::into).collect());
                if let Err(refused) = refused {
                    assert!(!refused.to_string().contains(value), "{typed:?}: {refused}");
                }
            }
        }
    }
}
