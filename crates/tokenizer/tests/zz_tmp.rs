#[test]
fn bombs() {
    let mut sub = String::new();
    for i in 0..16 {
        sub += &format!("(?<g{i}>\\g<g{}>\\g<g{}>)", i + 1, i + 1);
    }
    sub += "(?<g16>a)";
    let nested = "(".repeat(1000) + "a" + &")".repeat(1000);
    let looks = "(?=".repeat(60) + "a" + &")".repeat(60);
    let mut hard = "(?=a)".to_string();
    for _ in 0..20 {
        hard = format!("(?:{hard}{hard})");
        if hard.len() > 3000 {
            break;
        }
    }
    let mut rep = "(?=a)b".to_string();
    for _ in 0..8 {
        rep = format!("(?:{rep}){{1000}}");
    }
    let mut easy = "a".to_string();
    for _ in 0..8 {
        easy = format!("(?:{easy}){{1000}}");
    }
    let many_p = r"\p{L}{50}(?=a)".repeat(200);
    let lookb = format!("(?<={})x", r"(?:\p{L}{1,50}|\p{N}{1,50}){1,9}b*");
    let lookb2 = "(?<=(?:a|b)*a(?:a|b){20})x".to_string();
    let cases = vec![
        ("e65k", "a{256}b{256}".repeat(1)),
        ("e2", r"(?:\p{L}{256}){256}(?=a)".to_string()),
        ("e3", r"(?:(?i:\w){256}|b(?=a)){256}".to_string()),
        ("e4", r"(?>\p{L}{250})".repeat(200)),
        ("e5", r"(?i:[^\p{L}])+(?!\S)|".repeat(150)),
        ("e6", r"(?:\w|\p{L}(?!a)){200}{200}".to_string()),
        ("sub", sub),
        ("nested", nested),
        ("looks", looks),
        ("hard", hard),
        ("rep", rep),
        ("easy", easy),
        ("many_p", many_p),
        ("lookb", lookb),
        ("lookb2", lookb2),
        (
            "casei",
            "(?i)".to_string() + &r"\w{100}(?=\w{100})".repeat(20),
        ),
    ];
    for (name, pat) in cases {
        let t = std::time::Instant::now();
        if nanoscope_tokenizer::Tokenizer::new(nanoscope_tokenizer::TokenizerParts {
            pattern: pat.clone(),
            ranks: (0..=255u8).map(|b| (vec![b], b as u32)).collect(),
            special_tokens: vec![],
        })
        .map_err(|e| println!("{name}: {e}"))
        .is_err()
        {
            continue;
        }
        let r = tiktoken_rs::CoreBPE::new(
            [(vec![0u8], 0)].into_iter().collect(),
            [("x".to_string(), 1)].into_iter().collect(),
            &pat,
        );
        let rss = std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmHWM"))
            .unwrap()
            .to_string();
        println!(
            "{name} len {} {:?} {} {}",
            pat.len(),
            t.elapsed(),
            r.as_ref()
                .err()
                .map(|e| e.to_string().chars().take(80).collect::<String>())
                .unwrap_or("ok".into()),
            rss
        );
    }
}
