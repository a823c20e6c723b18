"""Who fetches a link to show what it leads to, when somebody pastes it into a message or a post.

No list that is maintained marks these, so this one is our own: a part of the User-Agent in any case, and where that is
documented or seen. Only what stands for the fetcher belongs here: the browsers inside these apps, whose users have
tapped on the link, send `Instagram`, `FBAN`, `Line/`, `Snapchat/` or `[Pinterest/iOS]`, and are people.
"""

from typing import Final

# fmt: off
FETCHERS: Final = (
    r"facebookexternalhit",       # Facebook, Messenger, Instagram; Apple's Messages sends it too
    r"facebookcatalog",           # developers.facebook.com/docs/sharing/webmasters/web-crawlers
    r"Facebot",                   # Apple's Messages: "facebookexternalhit/1.1 Facebot Twitterbot/1.0"
    r"meta-externalfetcher",      # the same page of Meta's
    r"Twitterbot",                # developer.x.com/en/docs/x-for-websites/cards/guides/troubleshooting-cards
    r"Slackbot",                  # api.slack.com/robots
    r"Slack-ImgProxy",            # the same page
    r"WhatsApp/",                 # developers.facebook.com/docs/whatsapp/link-previews; Signal sends it too
    r"TelegramBot",               # Telegram: "TelegramBot (like TwitterBot)"
    r"Discordbot",                # Discord
    r"LinkedInBot",               # linkedin.com/help/linkedin/answer/a521928
    r"SkypeUriPreview",           # Skype and Teams
    r"MicrosoftPreview",          # Teams and Outlook
    r"redditbot",                 # Reddit
    r"Pinterestbot",              # help.pinterest.com/en/business/article/pinterest-crawler
    r"^Pinterest/0",              # its older name
    r"Snap URL Preview Service",  # developers.snap.com/robots
    r"line-poker",                # LINE
    r"kakaotalk-scrap",           # KakaoTalk
    r"vkShare",                   # VK
    r"ViberUrlDownloader",        # Viber
    r"Google-PageRenderer",       # Google Chat
    r"Google.*/\+/web/snippet",   # previews in Google's products
    r"Mattermost-Bot",            # Mattermost
    r"Rocket\.Chat",              # Rocket.Chat
    r"Synapse \(bot",             # Matrix: Synapse's preview_url
    r"Bluesky Cardyb",            # Bluesky
    r"Mastodon/",                 # Mastodon: "http.rb/… (Mastodon/…; +https://…)"
    r"MisskeyBot",                # Misskey
    r"Iframely",                  # iframely.com/docs/about
    r"Embedly",                   # docs.embed.ly
    r"FlipboardProxy",            # about.flipboard.com/browserproxy
    r"^Tumblr/",                  # Tumblr's posts
    r"XING-contenttabreceiver",   # XING
    r"Quora Link Preview",        # Quora
    r"ZoomBot",                   # Zoom's chat
    r"Bitrix link preview",       # Bitrix24
    r"Nextcloud Server Crawler",  # Nextcloud Talk
    r"NotionEmbedder",            # Notion
)
# fmt: on
