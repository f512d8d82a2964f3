//! Crawlers that announce themselves: search engines, link previews, text collectors.
//!
//! A short list of the most frequent ones, each by the name in its operator's own documentation (Google, *Overview of
//! Google crawlers*; Bing Webmaster, *Which crawlers does Bing use*; Apple, *About Applebot*; Meta, *Web crawlers*; and
//! so on), as collected by <https://github.com/monperrus/crawler-user-agents>. A name counts only as a whole word:
//! browsers inside apps (`FBAN`, `Instagram`, `Line`, `MicroMessenger`) and phones (`CUBOT`) are visitors. Other
//! crawlers rarely keep cookies, and get no place for that reason.

/// Their names, in lower case.
const NAMES: [&str; 67] = [
    "googlebot",
    "googlebot-image",
    "googlebot-mobile",
    "googlebot-news",
    "googlebot-video",
    "googleother",
    "googleother-image",
    "googleother-video",
    "google-inspectiontool",
    "google-cloudvertexbot",
    "google-safety",
    "storebot-google",
    "apis-google",
    "adsbot-google",
    "adsbot-google-mobile",
    "adsbot-google-mobile-apps",
    "mediapartners-google",
    "feedfetcher-google",
    "bingbot",
    "bingpreview",
    "adidxbot",
    "msnbot",
    "applebot",
    "slurp",
    "duckduckbot",
    "duckassistbot",
    "yandexbot",
    "yandeximages",
    "yandexmobilebot",
    "baiduspider",
    "baiduspider-image",
    "baiduspider-render",
    "petalbot",
    "seznambot",
    "qwantbot",
    "mojeekbot",
    "facebookexternalhit",
    "facebookcatalog",
    "facebookbot",
    "facebot",
    "meta-externalads",
    "meta-externalagent",
    "meta-externalfetcher",
    "meta-webindexer",
    "twitterbot",
    "linkedinbot",
    "pinterestbot",
    "slackbot",
    "slackbot-linkexpanding",
    "slack-imgproxy",
    "discordbot",
    "telegrambot",
    "redditbot",
    "bytespider",
    "amazonbot",
    "gptbot",
    "oai-searchbot",
    "claudebot",
    "claude-searchbot",
    "perplexitybot",
    "ccbot",
    "archive.org_bot",
    "ahrefsbot",
    "semrushbot",
    "mj12bot",
    "dotbot",
    "dataforseobot",
];

/// Whether the text of a `User-Agent` header names one of the crawlers.
pub fn announces(agent: &str) -> bool {
    let is_of_a_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let mut words = agent.split(|letter: char| !is_of_a_name(letter)).filter(|word| !word.is_empty());
    words.any(|word| NAMES.iter().any(|name| word.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crawlers_are_recognised_by_their_names() {
        for agent in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Googlebot-Image/1.0",
            "AdsBot-Google (+http://www.google.com/adsbot.html)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
            "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "Slackbot 1.0(+https://api.slack.com/robots)",
            "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
            "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.1; +https://openai.com/gptbot",
            "GOOGLEBOT/2.1",
            "SAMSUNG-SGH-E250/1.0 Profile/MIDP-2.0 (compatible; Googlebot-Mobile/2.1; +http://www.google.com/bot.html)",
            "AdsBot-Google-Mobile-Apps",
            "Baiduspider-image+(+http://www.baidu.com/search/spider.htm)",
            "Facebot/1.0",
            "meta-externalads/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
            "TelegramBot (like TwitterBot)",
        ] {
            assert!(announces(agent), "{agent}");
        }
    }

    #[test]
    fn in_app_browsers_and_phones_with_similar_names_are_visitors() {
        for agent in [
            // Facebook
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/467.0.0.39.108;FBBV/602434143;FBDV/iPhone15,2;FBMD/iPhone;FBSN/iOS;FBSV/17.5.1;FBSS/3;FBID/phone;FBLC/de_DE;FBOP/5]",
            "Mozilla/5.0 (Linux; Android 14; SM-S911B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.165 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/467.1.0.52.83;]",
            // Instagram
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21E219 Instagram 335.0.7.19.93 (iPhone14,5; iOS 17_4; de_DE; de; scale=3.00; 1170x2532; 604286264)",
            // Line
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Safari Line/14.9.0",
            // WeChat
            "Mozilla/5.0 (Linux; Android 13; V2185A Build/TP1A.220624.014; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/116.0.0.0 Mobile Safari/537.36 XWEB/1160117 MMWEBSDK/20240404 MicroMessenger/8.0.49.2600(0x28003133) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64",
            // CUBOT
            "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 10; CUBOT_X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; U; Android 5.1; CUBOT_NOTE_S Build/LMY47I)",
            // Others
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [Pinterest/iOS]",
            "Mozilla/5.0 (Linux; Android 12; M2102J20SG) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile DuckDuckGo/5 Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) GSA/320.0.639 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
            "Googlebotany/1.0",
            "my-googlebot-like thing",
            "",
        ] {
            assert!(!announces(agent), "{agent}");
        }
    }

    #[test]
    fn names_are_written_as_they_are_compared() {
        for name in NAMES {
            assert!(announces(name) && announces(&name.to_uppercase()), "{name}");
        }
    }
}
