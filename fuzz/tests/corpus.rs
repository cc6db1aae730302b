//! Every law holds for all that the fuzzer has found worth keeping.

use std::path::Path;

#[test]
fn every_law_holds_for_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, law) in fuzz::LAWS {
        let folder = corpus.join(name);
        let files = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
            .map(|entry| entry.expect("an entry").path());
        let mut count = 0;
        for file in files {
            count += 1;
            // A panic names the law; this names the bytes.
            println!("{}", file.display());
            law(&std::fs::read(&file).expect("a readable file"));
        }
        assert!(count >= 5, "{name} has only {count} files");
    }
}
